"""The only room that writes studies to disk: the encrypted spool and the journal."""
