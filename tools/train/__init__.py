"""Training the model packages that ship with the product; torch is needed here and nowhere else."""
