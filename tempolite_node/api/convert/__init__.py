"""Between messages and the words of the engine: requests.py in, responses.py out."""
