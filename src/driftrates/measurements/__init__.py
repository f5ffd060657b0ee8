"""What is measured on a cloud or along a flow: entropy budgets, observables, quadrature constants, occupancy, transport and rates."""
