"""Answers for loads and hosts that this machine cannot produce, from what `tune` has measured.

A queueing model is fitted to the measurements (`fitting`), and asked (`sizing`). `model` says how a
host answers requests, `simulation` draws loads on it.
"""
