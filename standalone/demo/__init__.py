"""The demo: photos are tagged, questions asked and answers received, over HTTP."""
