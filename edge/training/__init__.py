"""Training: a course that a hospital can edit, a scored test, a certificate."""
