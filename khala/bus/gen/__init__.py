__all__ = ['ttypes', 'constants', 'Bus', 'Judicator']
