"""Measurements that users can run on their own hardware: `r1reward bench NAME`."""
