package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// dashboard is what the picture shows of a dashboard. Fields that are json.RawMessage make no difference to it.
//
// The model is in https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/.
type dashboard struct {
	Title      string
	Panels     []panel
	Templating struct{ List []variable }

	UID, Tags, SchemaVersion, Version, Editable, Refresh, Time, Timezone, Annotations json.RawMessage
}

// variable is one that a user chooses a value of.
type variable struct {
	Name, Type string

	Query, Label, Hide, Refresh, Current json.RawMessage
}

type panel struct {
	Type, Title string
	// GridPos is in columns, of which there are 24, and in rows of 30 pixels, from the upper left corner.
	GridPos         struct{ X, Y, W, H int }
	FieldConfig     fieldConfig
	Targets         []query
	Transformations []transformation
	Options         map[string]any

	ID, Description, Datasource, Collapsed, Panels json.RawMessage
}

// The types of panels that the picture can show.
const (
	row        = "row"
	stat       = "stat"
	table      = "table"
	timeseries = "timeseries"
)

// drawn are the options of a type of panel that it is drawn by. They are Grafana's defaults, but for the tooltip, which no picture has.
var drawn = map[string]map[string]any{
	stat: {
		"reduceOptions": map[string]any{"calcs": []any{"lastNotNull"}, "fields": "", "values": false}, "orientation": "auto", "textMode": "auto", "justifyMode": "auto",
		"colorMode": "value", "graphMode": "area", "wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard",
	},
	table: {"showHeader": true, "frameIndex": 0.0},
	timeseries: {
		"legend":  map[string]any{"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []any{}},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	},
}

// fieldConfig says how values look: by default, and those of the series or column of a name.
type fieldConfig struct {
	Defaults  field
	Overrides []override
}

type field struct {
	Unit       string
	Min, Max   *float64
	Thresholds *thresholds
	Color      fieldColor
	Custom     custom
}

type thresholds struct {
	Mode  string
	Steps []step
}

// step is the colour from a value on; the first one has none.
type step struct {
	Color string
	Value *float64
}

type fieldColor struct{ Mode, FixedColor string }

// custom is what only one type of panel has.
type custom struct {
	// FillOpacity is how much of 100 shines through between a line and the axis.
	FillOpacity float64
	CellOptions struct{ Type string }
}

type override struct {
	Matcher    struct{ ID, Options string }
	Properties []struct {
		ID    string
		Value json.RawMessage
	}
}

type query struct {
	RefID, Expr, LegendFormat, Format string
	// Instant is whether only the values at the end are asked for.
	Instant bool

	Datasource json.RawMessage
}

type transformation struct {
	ID      string
	Options struct {
		ExcludeByName map[string]bool
		IndexByName   map[string]int
		RenameByName  map[string]string
	}
}

// parse reads a dashboard, and fails when there is something in it that the picture would not show.
func parse(content []byte) (*dashboard, error) {
	board := &dashboard{}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(board); err != nil {
		return nil, fmt.Errorf("there is something in it that this program can't draw: %w", err)
	}
	var problems []error
	for _, variable := range board.Templating.List {
		if variable.Type != "datasource" {
			problems = append(problems, fmt.Errorf("the variable %q: the type %q is unknown, want datasource", variable.Name, variable.Type))
		}
	}
	if len(board.Panels) == 0 {
		problems = append(problems, errors.New("it has no panels"))
	}
	for i, one := range board.Panels {
		for _, problem := range one.problems() {
			problems = append(problems, fmt.Errorf("the panel %q: %s", one.Title, problem))
		}
		for _, other := range board.Panels[:i] {
			if one.overlaps(other) {
				problems = append(problems, fmt.Errorf("the panel %q lies on %q", one.Title, other.Title))
			}
		}
	}
	return board, errors.Join(problems...)
}

func (p panel) problems() []string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if known := []string{row, stat, table, timeseries}; !slices.Contains(known, p.Type) {
		add("the type %q is unknown, want one of %q", p.Type, known)
	}
	if p.Title == "" {
		add("it has no title")
	}
	if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.Y < 0 || p.GridPos.X+p.GridPos.W > columns {
		add("it lies outside of the %d columns: %+v", columns, p.GridPos)
	}
	if p.Type == row {
		return problems
	}
	if len(p.Targets) == 0 {
		add("it asks for nothing")
	}
	if one := p.Type == stat || p.Type == table; one && len(p.Targets) > 1 {
		add("a %s has one query, this has %d", p.Type, len(p.Targets))
	}
	if p.Type == stat && p.FieldConfig.Defaults.Thresholds == nil {
		add("it has no thresholds; by default Grafana turns it red from 80 on")
	}
	if p.Type == timeseries {
		for _, target := range p.Targets {
			if target.LegendFormat == "" {
				add("the query %s has no legend", target.RefID)
			}
		}
	}
	for _, target := range p.Targets {
		if table := p.Type == table; table != target.Instant || table != (target.Format == "table") {
			add("the query %s: a table asks for an instant and takes the format table, others do neither", target.RefID)
		}
		if left := strings.ReplaceAll(target.Expr, rateInterval, ""); strings.Contains(left, "$") {
			add("the query %s has a variable other than %s: %s", target.RefID, rateInterval, target.Expr)
		}
	}
	if p.Options != nil && !reflect.DeepEqual(p.Options, drawn[p.Type]) {
		add("it would be drawn with the options %v, it has %v", drawn[p.Type], p.Options)
	}
	if _, err := unitOf(p.FieldConfig.Defaults.Unit); err != nil {
		add("%v", err)
	}
	for _, override := range p.FieldConfig.Overrides {
		if override.Matcher.ID != "byName" {
			add("an override by %q, want byName", override.Matcher.ID)
		}
		if _, err := p.field(override.Matcher.Options); err != nil {
			add("the override for %q: %v", override.Matcher.Options, err)
		}
	}
	for _, one := range p.Transformations {
		if one.ID != "organize" || p.Type != table {
			add("the transformation %q is unknown, want organize in a table", one.ID)
		}
	}
	return problems
}

func (p panel) overlaps(other panel) bool {
	a, b := p.GridPos, other.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// field is how the values of a series or column look.
func (p panel) field(name string) (field, error) {
	looks := p.FieldConfig.Defaults
	for _, override := range p.FieldConfig.Overrides {
		if override.Matcher.Options != name {
			continue
		}
		for _, property := range override.Properties {
			into := map[string]any{"unit": &looks.Unit, "color": &looks.Color, "thresholds": &looks.Thresholds, "custom.cellOptions": &looks.Custom.CellOptions}[property.ID]
			if into == nil {
				return looks, fmt.Errorf("the property %q is unknown", property.ID)
			}
			decoder := json.NewDecoder(bytes.NewReader(property.Value))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(into); err != nil {
				return looks, fmt.Errorf("the property %s: %w", property.ID, err)
			}
		}
	}
	if _, err := unitOf(looks.Unit); err != nil {
		return looks, err
	}
	names := []string{looks.Color.FixedColor}
	if looks.Thresholds != nil {
		for _, step := range looks.Thresholds.Steps {
			names = append(names, step.Color)
		}
	}
	for _, name := range names {
		if _, known := named[name]; name != "" && !known {
			return looks, fmt.Errorf("the colour %q is unknown", name)
		}
	}
	return looks, nil
}

// colourOf is the name of the colour of a value.
func (t *thresholds) colourOf(value float64) string {
	name := ""
	for _, step := range t.Steps {
		if step.Value == nil || value >= *step.Value {
			name = step.Color
		}
	}
	return name
}
