package main

import (
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// paintStat draws the last value in its colour, over a small line of what it was before.
func (p panel) paintStat(c draw.Canvas, found result) {
	one := found.series[0]
	looks, unit := p.looks(one.name)
	colour := named[looks.Thresholds.colourOf(one.last())]
	high := 0.0
	for _, point := range one.points {
		high = max(high, float64(point.Value))
	}
	if first, last := one.points[0].Timestamp, one.points[len(one.points)-1].Timestamp; high > 0 && last > first {
		at := func(i int) vg.Point {
			along := vg.Length(one.points[i].Timestamp-first) / vg.Length(last-first)
			return vg.Point{X: c.Min.X + along*c.Size().X, Y: c.Min.Y + vg.Length(max(0, float64(one.points[i].Value))/high)*c.Size().Y*0.35}
		}
		var line []vg.Point
		for i := range one.points {
			line = append(line, at(i))
		}
		c.FillPolygon(faded(colour, 0.12), append(line, vg.Point{X: c.Max.X, Y: c.Min.Y}, c.Min))
		c.StrokeLines(draw.LineStyle{Color: faded(colour, 0.5), Width: 1}, line)
	}
	large := style(34, colour, true)
	large.XAlign, large.YAlign = text.XCenter, text.YCenter
	words := unit.text(one.last())
	for large.Width(words) > c.Size().X {
		large.Font.Size--
	}
	c.FillText(large, vg.Point{X: c.Center().X, Y: c.Center().Y + 8}, words)
}
