"""The rules judge: what a reply says in its own voice, by regular expressions over normal text."""
