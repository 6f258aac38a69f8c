"""Being here puts this folder on the path of imports, so that tests can say `import builders`."""
