package main

import (
	"fmt"
	"image/color"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// paintLines draws a line for each series, and below the axes their names.
func (p panel) paintLines(c draw.Canvas, found result, span span) {
	lines := found.series
	colours := p.colours(lines)
	c.Min.Y += legendHeight(c, lines) + 6
	p.paintPlot(c, lines, colours, span)
	c.Max.Y = c.Min.Y - 6
	c.Min.Y = c.Max.Y - legendHeight(c, lines)
	paintLegend(c, lines, colours)
}

// colours are those that an override names, and for the others the next of the palette.
func (p panel) colours(lines []series) []color.RGBA {
	var colours []color.RGBA
	for i, one := range lines {
		colour := palette[i%len(palette)]
		if looks, _ := p.looks(one.name); looks.Color.Mode == "fixed" {
			colour = named[looks.Color.FixedColor]
		}
		colours = append(colours, colour)
	}
	return colours
}

func (p panel) paintPlot(c draw.Canvas, lines []series, colours []color.RGBA, span span) {
	looks, unit := p.looks("")
	low, high := 0.0, 0.0
	for _, one := range lines {
		for _, point := range one.points {
			low, high = min(low, float64(point.Value)), max(high, float64(point.Value))
		}
	}
	if looks.Min != nil {
		low = *looks.Min
	}
	if looks.Max != nil {
		high = *looks.Max
	}
	if high <= low {
		high = low + 1
	}
	picture := plot.New()
	picture.BackgroundColor = nil
	picture.TextHandler = letters
	values, labels := unit.ticks(low, high)
	picture.Y.Min, picture.Y.Max = values[0], values[len(values)-1]
	picture.Y.Tick.Marker = marks(values, labels)
	values, labels = clock(span)
	picture.X.Min, picture.X.Max = seconds(span.from), seconds(span.to)
	picture.X.Tick.Marker = marks(values, labels)
	for axis, align := range map[*plot.Axis]struct {
		x text.XAlignment
		y text.YAlignment
	}{&picture.X: {text.XCenter, text.YTop}, &picture.Y: {text.XRight, text.YCenter}} {
		axis.Padding, axis.Width = 0, 0
		axis.Tick.Length, axis.Tick.Color = 6, paper // only the distance of the labels
		axis.Tick.Label = style(11, faint, false)
		axis.Tick.Label.XAlign, axis.Tick.Label.YAlign = align.x, align.y
	}
	lattice := plotter.NewGrid()
	lattice.Horizontal, lattice.Vertical = draw.LineStyle{Color: grid, Width: 1}, draw.LineStyle{Color: grid, Width: 1}
	picture.Add(lattice)
	for i, one := range lines {
		for _, piece := range pieces(one.points, span.step()) {
			picture.Add(&stroke{points: piece, colour: colours[i], fill: looks.Custom.FillOpacity / 100})
		}
	}
	picture.Draw(c)
}

// stroke is a piece of a line without a gap, or a dot.
type stroke struct {
	points plotter.XYs
	colour color.RGBA
	// fill is how much of the colour fills the space below.
	fill float64
}

// Plot is part of plot.Plotter.
func (s *stroke) Plot(c draw.Canvas, picture *plot.Plot) {
	x, y := picture.Transforms(&c)
	var line []vg.Point
	for _, point := range s.points {
		line = append(line, vg.Point{X: x(point.X), Y: y(point.Y)})
	}
	if len(line) == 1 {
		c.DrawGlyph(draw.GlyphStyle{Color: s.colour, Radius: 2, Shape: draw.CircleGlyph{}}, line[0])
		return
	}
	if s.fill > 0 {
		area := append(slices.Clone(line), vg.Point{X: line[len(line)-1].X, Y: c.Min.Y}, vg.Point{X: line[0].X, Y: c.Min.Y})
		c.FillPolygon(faded(s.colour, s.fill), c.ClipPolygonXY(area))
	}
	c.StrokeLines(draw.LineStyle{Color: s.colour, Width: 1.5}, c.ClipLinesXY(line)...)
}

// pieces cuts a line where points are missing.
func pieces(points []model.SamplePair, step time.Duration) []plotter.XYs {
	var found []plotter.XYs
	for i, point := range points {
		if i == 0 || point.Timestamp.Sub(points[i-1].Timestamp) > step*3/2 {
			found = append(found, nil)
		}
		last := &found[len(found)-1]
		*last = append(*last, plotter.XY{X: seconds(point.Timestamp.Time()), Y: float64(point.Value)})
	}
	return found
}

func seconds(at time.Time) float64 { return float64(at.UnixMilli()) / 1000 }

func marks(values []float64, labels []string) plot.ConstantTicks {
	var found plot.ConstantTicks
	for i := range values {
		found = append(found, plot.Tick{Value: values[i], Label: labels[i]})
	}
	return found
}

// clock has some round times of a span.
func clock(span span) (values []float64, labels []string) {
	const most = 6
	step := 24 * time.Hour
	for _, one := range []time.Duration{
		5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
		30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour,
	} {
		if span.to.Sub(span.from)/one <= most {
			step = one
			break
		}
	}
	layout := "15:04"
	if step < time.Minute {
		layout = "15:04:05"
	}
	for at := span.from.Truncate(step).Add(step); !at.After(span.to); at = at.Add(step) {
		values, labels = append(values, seconds(at)), append(labels, at.UTC().Format(layout))
	}
	return values, labels
}

// The legend has lines of this height, and no more of them than that.
const (
	legendLine  = 17
	legendLines = 5
)

// entry is a name in a legend, at a place counted from the upper left corner.
type entry struct {
	name string
	x, y vg.Length
	of   int
}

// entries are the names of lines, one after another as long as there is room beside each other, and whether they are all there.
func entries(c draw.Canvas, lines []series) (placed []entry, height vg.Length) {
	letters := style(11, ink, false)
	x, y := vg.Length(0), vg.Length(0)
	for i, one := range lines {
		name := fit(letters, one.name, c.Size().X-20)
		wide := letters.Width(name) + 36
		if x > 0 && x+wide-16 > c.Size().X {
			x, y = 0, y+legendLine
		}
		if y == legendLine*(legendLines-1) && i < len(lines)-1 {
			return append(placed, entry{name: fmt.Sprintf("and %d more", len(lines)-i), x: x, y: y, of: -1}), y + legendLine
		}
		placed = append(placed, entry{name: name, x: x, y: y, of: i})
		x += wide
	}
	return placed, y + legendLine
}

func legendHeight(c draw.Canvas, lines []series) vg.Length {
	_, height := entries(c, lines)
	return height
}

func paintLegend(c draw.Canvas, lines []series, colours []color.RGBA) {
	placed, _ := entries(c, lines)
	for _, one := range placed {
		letters := style(11, ink, false)
		letters.YAlign = text.YCenter
		x, y := c.Min.X+one.x, c.Max.Y-one.y-legendLine/2
		if one.of < 0 {
			letters.Color = faint
			c.FillText(letters, vg.Point{X: x, Y: y}, one.name)
			continue
		}
		c.StrokeLine2(draw.LineStyle{Color: colours[one.of], Width: 3}, x, y, x+14, y)
		c.FillText(letters, vg.Point{X: x + 20, Y: y}, one.name)
	}
}
