"""What a machine with a GPU needs beside the lock: its TensorRT, and pycuda for its CUDA."""
