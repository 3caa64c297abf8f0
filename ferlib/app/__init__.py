"""What stands behind the page of `app.py`: the service that judges photos, the words, the pictures and the HTML."""
