"""Training of the networks that xec_deploy deploys."""
