"""ONNX surgery: the precision of an engine is written into its graph before it is built."""
