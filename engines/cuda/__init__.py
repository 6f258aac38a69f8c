"""What an NVIDIA GPU needs of a process: one context, memory that stays, graphs, and a kernel.

Nothing here imports pycuda or looks for a driver before it is used.
"""
