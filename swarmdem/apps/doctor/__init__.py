"""`swarmdem doctor`: looks a deployment over and names the fix for what it finds."""
