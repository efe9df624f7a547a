"""The command line `agentlip`: one file per group of commands. It talks to hubs through `agentlip.client`."""
