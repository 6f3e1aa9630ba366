package watch

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// Dashboard is what is looked at of a dashboard of Grafana.
type Dashboard struct {
	// Name is that of its file, without .json.
	Name  string `json:"-"`
	UID   string `json:"uid"`
	Title string `json:"title"`
	// Description says what it is for.
	Description string  `json:"description"`
	Panels      []Panel `json:"panels"`
}

// Panel is a picture of a dashboard.
type Panel struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description"`
	// Type is stat or timeseries.
	Type    string `json:"type"`
	GridPos struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit   string `json:"unit"`
			Custom struct {
				Stacking struct {
					Mode string `json:"mode"`
				} `json:"stacking"`
			} `json:"custom"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []Target `json:"targets"`
}

// Target is a query of a panel.
type Target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// Dashboards are those of a directory, in order.
func Dashboards(dir string) (all []Dashboard, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no *.json", dir)
	}
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := Dashboard{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := json.Unmarshal(text, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// QueriesAsRules are the queries of dashboards as a rule file, for promtool to parse:
// one record for each.
func QueriesAsRules(dashboards []Dashboard) ([]byte, error) {
	type group struct {
		Name  string `json:"name"`
		Rules []Rule `json:"rules"`
	}
	var file struct {
		Groups []group `json:"groups"`
	}
	for _, d := range dashboards {
		g := group{Name: d.Name}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				g.Rules = append(g.Rules, Rule{Record: fmt.Sprintf("%s:panel_%d:%s", d.Name, p.ID, target.RefID), Expr: target.Expr})
			}
		}
		file.Groups = append(file.Groups, g)
	}
	return yaml.Marshal(file)
}
