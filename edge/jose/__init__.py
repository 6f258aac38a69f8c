"""What is signed and what is sealed, in the forms of JOSE (RFC 7515, RFC 7516)."""
