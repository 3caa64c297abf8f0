"""The tabs of the page, a file a tab: its layout, and what happens in it."""
