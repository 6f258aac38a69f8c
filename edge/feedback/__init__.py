"""The physician's word on a finding: what is sent of it, and what is counted."""
