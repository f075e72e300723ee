"""Mirror a whole channel as a wheel index: plan, convert, store, publish and report, with a state that survives interruptions."""
