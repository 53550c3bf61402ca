package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The columns that Grafana makes of an instant, beside one for each label.
const (
	timeColumn  = "Time"
	valueColumn = "Value"
)

// column has the name that the data gives it, and the one that is shown.
type column struct{ source, title string }

// columns are those of a table, in the order in which they are shown.
func (p panel) columns(found result) []column {
	labels := map[string]bool{}
	for _, one := range found.series {
		for label := range one.labels {
			labels[string(label)] = true
		}
	}
	names := append(append([]string{timeColumn}, slices.Sorted(maps.Keys(labels))...), valueColumn)
	var shown []column
	for _, name := range names {
		shown = append(shown, column{name, name})
	}
	for _, one := range p.Transformations {
		shown = slices.DeleteFunc(shown, func(c column) bool { return one.Options.ExcludeByName[c.source] })
		slices.SortStableFunc(shown, func(a, b column) int {
			return cmp.Compare(one.Options.IndexByName[a.source], one.Options.IndexByName[b.source])
		})
		for i := range shown {
			if title := one.Options.RenameByName[shown[i].source]; title != "" {
				shown[i].title = title
			}
		}
	}
	return shown
}

// paintTable draws a line for each series, as many as there is room for.
func (p panel) paintTable(c draw.Canvas, found result) {
	const line = 24
	shown := p.columns(found)
	room := int(c.Size().Y/line) - 1 // the first line has the titles
	rows := found.series
	if len(rows) > room {
		rows = rows[:room-1]
	}
	each := c.Size().X / vg.Length(len(shown))
	for i, column := range shown {
		left := c.Min.X + vg.Length(i)*each
		looks, unit := p.looks(column.title)
		write := func(n int, style text.Style, words string) {
			style.YAlign = text.YCenter
			c.FillText(style, vg.Point{X: left, Y: c.Max.Y - line*(vg.Length(n)+0.5)}, fit(style, words, each-8))
		}
		write(0, style(12, named["blue"], true), column.title)
		for n, one := range rows {
			words, colour := string(one.labels[model.LabelName(column.source)]), ink
			switch column.source {
			case timeColumn:
				words = one.points[0].Timestamp.Time().UTC().Format("2006-01-02 15:04:05")
			case valueColumn:
				words = unit.text(one.last())
				if looks.Custom.CellOptions.Type == "color-text" && looks.Thresholds != nil {
					colour = named[looks.Thresholds.colourOf(one.last())]
				}
			}
			write(n+1, style(12, colour, false), words)
		}
		if more := len(found.series) - len(rows); more > 0 && i == 0 {
			write(len(rows)+1, style(12, faint, false), fmt.Sprintf("and %d more", more))
		}
	}
	for n := range rows {
		y := c.Max.Y - line*vg.Length(n+1)
		c.StrokeLine2(draw.LineStyle{Color: grid, Width: 1}, c.Min.X, y, c.Max.X, y)
	}
}
