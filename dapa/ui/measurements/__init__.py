"""What can be measured on screen: views of a pair, and closer looks at a found set."""
