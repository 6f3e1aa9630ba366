package reports

// Chart shows what follows from something that was varied, such as memory from the
// number of Machines.
type Chart struct {
	Name string `json:"name"`
	// X is what was varied, such as "Machines".
	X string `json:"x"`
	// Unit is that of the values; empty for a count.
	Unit  string  `json:"unit,omitempty"`
	Lines []Curve `json:"lines"`
}

// Curve is what was measured of one thing, in the order of X.
type Curve struct {
	Name   string `json:"name"`
	Points []XY   `json:"points"`
}

// Add adds a value to the curve of that name.
func (c *Chart) Add(curve string, x, y float64) {
	for i := range c.Lines {
		if c.Lines[i].Name == curve {
			c.Lines[i].Points = append(c.Lines[i].Points, XY{x, y})
			return
		}
	}
	c.Lines = append(c.Lines, Curve{Name: curve, Points: []XY{{x, y}}})
}
