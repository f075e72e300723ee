"""The pages where people search, understand and try packages: a catalogue of a channel, and HTML made of it.

The mirror writes them as static files, and the service answers with the same templates.
"""
