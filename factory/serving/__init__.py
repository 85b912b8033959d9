"""What servers of pages for a browser of this machine have in common."""
