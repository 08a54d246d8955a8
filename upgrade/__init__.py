"""What is deployed and what it is developed with, brought up to date."""
