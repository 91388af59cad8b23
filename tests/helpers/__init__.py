"""What tests share: trace strategies, checked devices, interrupts."""
