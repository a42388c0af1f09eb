"""How people hear of what happens.

A journal entry that people are to hear of leaves a Notice in its own transaction (runs/services/journal.py). The control worker
hands each on (``handing_on``): which occasion it is (``occasions``), who hears of it (``recipients``), one Delivery for each.
Then it sends what is due (``delivering``), by e-mail or to a channel, and notes every try.
"""
