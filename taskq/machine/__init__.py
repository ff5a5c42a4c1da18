"""The pure state machine of the queue. Its one door is `Machine`; it knows no wire and no clock."""
