"""What the network behind g_s should be?"""
