"""`cht-sync doctor`: what is wrong with the machine, the settings and every connection, and what to do.

It asks and changes nothing; only a refused login at CouchDB is remembered, so that the account is not
locked. A module has the checks of one group, `finding` the words, `situation` what is known before, `seen`
how that is found out, `examine` how checks are run. With containers the checks of servers are run inside
their network.
"""
