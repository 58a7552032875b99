"""`swarmdem report`: one self-contained HTML page about a run or an experiment.

    html         elements, tables, the page around everything; every text is escaped here
    inline       matplotlib figures as SVG that follows the page's colours
    stories      what the journals of a run's peers tell
    trees        who is in which group, round by round: bands, moves, the data of the tree view
    incidents    what went wrong and what was done about it, in words
    peers        how each peer is served, who aggregated how much
    run          the sections about one run
    experiment   the sections about variants, with those of their runs
    command      which page, and where to

The page loads nothing: styles, the one script and all figures are part of it, and its content
security policy forbids anything else.
"""
