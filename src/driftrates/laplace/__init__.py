"""The non-conservative Laplace method: displacement fields v = m_p - m_mu and what the paper proves of them."""
