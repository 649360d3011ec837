"""Simulators and runs on many machines, arranged by Ray (extra ``av-td3[ray]``).

Ray places processes on nodes, starts them again, and ends them with the program that asked for them.  What is
said in each step of training does not go through Ray: learner and worker talk over a TCP connection of their
own, in the messages that they use on one machine.
"""
