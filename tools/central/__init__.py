"""A central server in small: subscribes, verifies, decrypts, drops repeats, keeps and prints."""
