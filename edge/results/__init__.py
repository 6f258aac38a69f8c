"""What was found, as DICOM beside the study in the hospital's PACS, and the sending of it."""
