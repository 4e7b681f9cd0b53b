"""Synthetic data sets: simulated people, written to disk in the layouts of BioVid and Aff-Wild2.

- ``biovid`` and ``affwild2`` make a set: how large it is, its files, and its place in the cache. The readers of the
  real sets (:mod:`pkdot.data.biovid`, :mod:`pkdot.data.affwild2`) read them.
- ``pain`` simulates people under heat pain: what they feel, and what face and body show of it.
- ``affect`` simulates people with changing feelings: their face and their voice.
- ``faces`` draws faces from action units.
- ``courses`` has the random courses over time from which behaviour is built.

Nothing outside this room imports a simulator. Equal specs give equal files on every machine. The folder's name in the
cache has a digest of the sources of these modules: after any edit here the sets are made anew.
"""
