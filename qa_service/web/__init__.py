"""What each part shows over HTTP."""
