"""Parts of fleet_load.py and kills.py: processes to be watched and killed, and the final check."""
