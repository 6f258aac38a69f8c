"""DICOM pixels to what a model eats: decode, look-up tables, windows, order."""
