"""The commands that the page shows to those who write programs."""

ADDRESS = "http://127.0.0.1:7860"  # the page puts its own in its place

GUIDE = f"""
```bash
# every face of a photo: box, expression, probabilities
curl --silent --form image=@photo.jpg {ADDRESS}/v1/predict

# with a model, an explanation and a coverage of one's choice
curl --silent --form image=@photo.jpg --form model=ivsa_fer2013 --form explain=gradcam --form coverage=0.95 \\
  {ADDRESS}/v1/predict

# the models, and what each can do
curl --silent {ADDRESS}/v1/models
```

Every field is explained in [openapi.json](v1/openapi.json); a refusal is `application/problem+json`, and 503 says in
`Retry-After` when to try again. Photos sent in this way are looked at in memory and not kept.
"""

#: Puts the page's own address into the commands, in the browser.
WITH_ADDRESS = f"text => text.replaceAll('{ADDRESS}', location.origin + location.pathname.replace(/\\/$/, ''))"
