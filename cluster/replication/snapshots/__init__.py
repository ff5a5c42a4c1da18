"""How a whole state goes from a leader to a node whose entries the log no longer has (A11).

    messages            pure: what the two say, and nothing else is understood
    outgoing, sender    the leader: one transfer; all of them, in turn, and again where one broke
    incoming, receiver  the follower: one transfer; which one is taken, and what becomes of it
    exchange            both, as one node has them
    faces               what the storage gives

    leader                                    follower
    BEGIN index, terms              ---->
    CHUNK 0, CHUNK 1, ...           ---->     written aside
                                    <----     TAKEN 0, TAKEN 1, ...
    END count, crc                  ---->     checked, synced, swapped in, opened
                                    <----     INSTALLED index
    STOP why                        <--->     at any time

Every message names the stream: the leader's term and a number that it never gives twice. Nothing
here knows Raft: who leads, what is applied and what is cut from the log is told and asked.
"""
