"""The networks: one file a paper. A file's docstring is the paper's figure, its class the network.

`zoo.py` lists every variant as a row; `registry.py` builds a row; `blocks.py` holds what several
networks share.
"""
