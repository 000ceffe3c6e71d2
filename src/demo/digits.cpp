// SPDX-License-Identifier: Apache-2.0
// Draws digits as pen strokes: splines through a few knots per digit, moved at random, then inked
// by the distance of each pixel from the stroke.
#include "gpfq/demo/digits.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "demo/counter_random.hpp"
#include "gpfq/base/error.hpp"

namespace gpfq::demo {
namespace {

/// A point that a stroke passes: x to the right, y down, both in 0..1 over the digit's box.
struct Knot {
  double x;
  double y;
  bool corner = false;  ///< the pen changes direction at once
};
using Stroke = std::vector<Knot>;
/// One way to write a digit.
using Glyph = std::vector<Stroke>;

constexpr bool corner = true;

/// The ways to write each digit, of which each image takes one.
const std::array<std::vector<Glyph>, digit_classes>& glyphs() {
  // A stroke takes a line or two.
  // clang-format off
  static const std::array<std::vector<Glyph>, digit_classes> all = {{
      // 0: an oval from the top to the left; the same begun at the right, the ends crossing
      {{{{.55, .00}, {.20, .13}, {.04, .50}, {.20, .87}, {.52, 1.0}, {.82, .86}, {.96, .48}, {.82, .12}, {.52, .01}}},
       {{{.74, .10}, {.42, .01}, {.10, .26}, {.06, .68}, {.38, .99}, {.80, .84}, {.95, .45}, {.80, .10}, {.50, .05}}}},
      // 1: a line; with an upstroke; with upstroke and foot
      {{{{.52, .00}, {.50, .50}, {.50, 1.0}}},
       {{{.24, .24}, {.42, .12}, {.56, .00, corner}, {.55, .50}, {.54, 1.0}}},
       {{{.22, .22}, {.42, .12}, {.54, .00, corner}, {.53, .50}, {.53, .98}}, {{.20, .99}, {.52, .98}, {.84, .99}}}},
      // 2: with a corner below; with a loop
      {{{{.08, .26}, {.22, .06}, {.52, .00}, {.82, .14}, {.82, .40}, {.50, .70}, {.06, .98, corner}, {.95, .96}}},
       {{{.10, .22}, {.46, .00}, {.86, .20}, {.70, .54}, {.34, .86}, {.12, .96}, {.08, .82}, {.30, .80}, {.66, .96},
         {.98, .88}}}},
      // 3: two bows; a flat top
      {{{{.10, .14}, {.42, .00}, {.80, .12}, {.76, .36}, {.40, .46, corner}, {.80, .54}, {.92, .76}, {.56, 1.0},
         {.06, .88}}},
       {{{.10, .03}, {.84, .02, corner}, {.42, .40, corner}, {.82, .48}, {.94, .74}, {.60, .99}, {.06, .92}}}},
      // 4: open; closed, in one go
      {{{{.22, .02}, {.12, .34}, {.08, .58, corner}, {.50, .58}, {.96, .54}}, {{.76, .16}, {.70, .56}, {.68, 1.0}}},
       {{{.66, 1.0}, {.68, .50}, {.70, .00, corner}, {.04, .66, corner}, {.50, .68}, {.98, .66}}}},
      // 5: the roof last; in one go
      {{{{.24, .02}, {.18, .42, corner}, {.52, .36}, {.88, .54}, {.84, .86}, {.48, 1.0}, {.06, .90}},
        {{.23, .02}, {.52, .03}, {.90, .01}}},
       {{{.86, .04}, {.30, .03, corner}, {.18, .46, corner}, {.58, .40}, {.92, .66}, {.64, .97}, {.08, .94}}}},
      // 6: with a wide bow; upright with a small bowl
      {{{{.80, .02}, {.40, .18}, {.10, .54}, {.16, .88}, {.52, 1.0}, {.86, .82}, {.74, .56}, {.40, .54}, {.12, .76}}},
       {{{.50, .00}, {.22, .36}, {.12, .72}, {.34, .98}, {.74, .94}, {.84, .70}, {.54, .58}, {.18, .78}}}},
      // 7: plain; with a bar; with a serif
      {{{{.06, .06}, {.50, .06}, {.92, .03, corner}, {.60, .46}, {.40, 1.0}}},
       {{{.06, .06}, {.50, .05}, {.94, .03, corner}, {.62, .46}, {.40, 1.0}}, {{.26, .52}, {.54, .50}, {.82, .49}}},
       {{{.06, .22}, {.10, .05, corner}, {.90, .06, corner}, {.62, .40}, {.50, 1.0}}}},
      // 8: one stroke that crosses itself; two rings
      {{{{.80, .14}, {.48, .00}, {.16, .16}, {.30, .38}, {.68, .58}, {.86, .80}, {.50, 1.0}, {.12, .80}, {.32, .56},
         {.70, .36}, {.82, .12}}},
       {{{.50, .00}, {.18, .12}, {.22, .38}, {.50, .46}, {.78, .38}, {.82, .12}, {.50, .00}},
        {{.50, .46}, {.12, .62}, {.14, .90}, {.50, 1.0}, {.86, .90}, {.88, .62}, {.50, .46}}}},
      // 9: a straight tail; a curled one
      {{{{.84, .18}, {.50, .00}, {.14, .20}, {.26, .50}, {.62, .48}, {.86, .18, corner}, {.82, .56}, {.72, 1.0}}},
       {{{.82, .16}, {.48, .01}, {.12, .24}, {.32, .52}, {.70, .44}, {.86, .16, corner}, {.88, .60}, {.66, .94},
         {.20, .94}}}},
  }};
  // clang-format on
  return all;
}

/// A point of the line that the pen follows, in pixels, and half the pen's width there.
struct PenPoint {
  double x;
  double y;
  double radius;
};
using PenLine = std::vector<PenPoint>;

/// What one hand does to a digit's box: bends it, then slants, sizes, turns and places it.
class Hand {
 public:
  explicit Hand(CounterRandom& random) : knot_shake_(random.uniform(0.02, 0.055)), radius_(random.uniform(0.75, 1.65)) {
    for (double& bend : bends_) bend = 0.15 * random.normal();
    const double height = random.uniform(15.0, 21.5);
    const double width = height * random.uniform(0.48, 0.88);
    const double slant = 0.20 * random.normal() + 0.10;  // writing leans to the right
    // Tangent of half the angle: cosine and sine follow without either function.
    const double half_turn = 0.06 * random.normal();
    const double cosine = (1 - half_turn * half_turn) / (1 + half_turn * half_turn);
    const double sine = 2 * half_turn / (1 + half_turn * half_turn);
    xx_ = cosine * width;
    xy_ = -(cosine * slant + sine) * height;
    yx_ = sine * width;
    yy_ = (cosine - sine * slant) * height;
    centre_x_ = 0.5 * static_cast<double>(digit_side) + 0.9 * random.normal();
    centre_y_ = 0.5 * static_cast<double>(digit_side) + 0.9 * random.normal();
  }

  [[nodiscard]] double knot_shake() const { return knot_shake_; }

  /// From the digit's box to pixels.
  [[nodiscard]] PenPoint place(double x, double y, double pressure) const {
    const double h = x - 0.5;
    const double v = y - 0.5;
    const double bent_h = h + bends_[0] * v * v + bends_[1] * h * v + bends_[2] * h * h + bends_[3] * v * v * v;
    const double bent_v = v + bends_[4] * h * h + bends_[5] * h * v + bends_[6] * v * v + bends_[7] * h * h * v;
    return {centre_x_ + xx_ * bent_h + xy_ * bent_v, centre_y_ + yx_ * bent_h + yy_ * bent_v, radius_ * pressure};
  }

 private:
  double knot_shake_;
  double radius_;
  std::array<double, 8> bends_{};
  double xx_ = 0, xy_ = 0, yx_ = 0, yy_ = 0;
  double centre_x_ = 0, centre_y_ = 0;
};

/// Knots moved a little, each by itself.
Stroke shake(const Stroke& stroke, double size, CounterRandom& random) {
  Stroke shaken = stroke;
  for (Knot& knot : shaken) {
    knot.x += size * random.normal();
    knot.y += size * random.normal();
  }
  return shaken;
}

/// Slope of the spline at knot `at` for the piece that lies between `at` and `other`, its
/// neighbour: along the neighbours of `at` (Catmull-Rom), along the piece at corners and ends.
std::pair<double, double> slope(const Stroke& stroke, std::size_t at, std::size_t other) {
  const bool is_end = at == 0 || at + 1 == stroke.size();
  if (is_end || stroke[at].corner) {
    const double sign = other > at ? 0.8 : -0.8;
    return {sign * (stroke[other].x - stroke[at].x), sign * (stroke[other].y - stroke[at].y)};
  }
  return {0.5 * (stroke[at + 1].x - stroke[at - 1].x), 0.5 * (stroke[at + 1].y - stroke[at - 1].y)};
}

/// The spline through the knots as a fine polygon, placed by the hand.
PenLine follow(const Stroke& stroke, const Hand& hand, double pressure_begin, double pressure_end) {
  constexpr int pieces = 6;  // between two knots: at most 2 pixels each
  PenLine line;
  const double length = static_cast<double>((stroke.size() - 1) * pieces);
  for (std::size_t i = 0; i + 1 < stroke.size(); ++i) {
    const auto [ax, ay] = slope(stroke, i, i + 1);
    const auto [bx, by] = slope(stroke, i + 1, i);
    for (int piece = i == 0 ? 0 : 1; piece <= pieces; ++piece) {
      const double t = static_cast<double>(piece) / pieces;
      const double from = (1 + 2 * t) * (1 - t) * (1 - t);  // cubic Hermite polynomials
      const double to = t * t * (3 - 2 * t);
      const double leave = t * (1 - t) * (1 - t);
      const double arrive = t * t * (t - 1);
      const double along = (static_cast<double>(i) * pieces + piece) / length;
      line.push_back(hand.place(from * stroke[i].x + to * stroke[i + 1].x + leave * ax + arrive * bx,
                                from * stroke[i].y + to * stroke[i + 1].y + leave * ay + arrive * by,
                                pressure_begin + along * (pressure_end - pressure_begin)));
    }
  }
  return line;
}

/// Ink on the paper, 0..1 per pixel.
using Ink = std::array<double, static_cast<std::size_t>(digit_pixels)>;

/// Inks the pixels near the piece from a to b: full inside the pen's radius, none a pixel further
/// out, falling evenly between. The most of all pieces counts, so that joints do not show.
void ink_piece(const PenPoint& a, const PenPoint& b, Ink& ink) {
  const double dx = b.x - a.x;
  const double dy = b.y - a.y;
  const double squared_length = std::max(dx * dx + dy * dy, 1e-12);
  const double reach = std::max(a.radius, b.radius) + 1;
  const auto pixel = [](double x) { return std::clamp<Index>(static_cast<Index>(std::floor(x)), 0, digit_side - 1); };
  for (Index row = pixel(std::min(a.y, b.y) - reach); row <= pixel(std::max(a.y, b.y) + reach); ++row) {
    for (Index column = pixel(std::min(a.x, b.x) - reach); column <= pixel(std::max(a.x, b.x) + reach); ++column) {
      const double x = static_cast<double>(column) + 0.5 - a.x;
      const double y = static_cast<double>(row) + 0.5 - a.y;
      const double t = std::clamp((x * dx + y * dy) / squared_length, 0.0, 1.0);
      const double off_x = x - t * dx;
      const double off_y = y - t * dy;
      const double distance = std::sqrt(off_x * off_x + off_y * off_y);
      const double radius = a.radius + t * (b.radius - a.radius);
      double& here = ink[static_cast<std::size_t>(row * digit_side + column)];
      here = std::max(here, std::clamp(radius + 0.5 - distance, 0.0, 1.0));
    }
  }
}

void ink_line(const PenLine& line, Ink& ink) {
  for (std::size_t i = 0; i + 1 < line.size(); ++i) ink_piece(line[i], line[i + 1], ink);
}

/// A short mark anywhere, such as a neighbour's stroke reaching in.
void ink_stray_mark(CounterRandom& random, Ink& ink) {
  const double side = static_cast<double>(digit_side);
  const PenPoint begin{random.uniform(0, side), random.uniform(0, side), random.uniform(0.3, 1.0)};
  const PenPoint end{begin.x + 3.5 * random.normal(), begin.y + 3.5 * random.normal(), random.uniform(0.3, 1.0)};
  ink_piece(begin, end, ink);
}

/// Pressure times ink, uneven where there is ink: paper stays exactly 0.
void to_bytes(const Ink& ink, double darkness, CounterRandom& random, std::uint8_t* image) {
  for (std::size_t i = 0; i < ink.size(); ++i) {
    const double grain = 1 + 0.10 * random.normal();
    image[i] = static_cast<std::uint8_t>(std::clamp(255 * darkness * ink[i] * grain, 0.0, 255.0) + 0.5);
  }
}

void draw_digit(std::size_t digit, CounterRandom& random, std::uint8_t* image) {
  constexpr double stray_mark_share = 0.15;
  const std::vector<Glyph>& ways = glyphs()[digit];
  const Glyph& glyph = ways[random.below(ways.size())];
  const Hand hand(random);
  Ink ink{};
  for (const Stroke& stroke : glyph) {
    const double pressure_begin = random.uniform(0.8, 1.2);
    const double pressure_end = random.uniform(0.65, 1.15);
    ink_line(follow(shake(stroke, hand.knot_shake(), random), hand, pressure_begin, pressure_end), ink);
  }
  if (random.uniform() < stray_mark_share) ink_stray_mark(random, ink);
  to_bytes(ink, random.uniform(0.8, 1.1), random, image);
}

/// The digits of images 10·ten .. 10·ten + 9: each once, shuffled (Fisher-Yates).
std::array<std::uint8_t, digit_classes> ten_labels(std::uint64_t seed, std::uint64_t ten) {
  std::array<std::uint8_t, digit_classes> labels{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  CounterRandom random(seed, 0, ten);
  for (std::size_t i = labels.size() - 1; i > 0; --i) std::swap(labels[i], labels[random.below(i + 1)]);
  return labels;
}

}  // namespace

Digits draw_digits(Index count, std::uint64_t seed) {
  require(count >= 0, "draw_digits: negative count");
  Digits digits;
  digits.count = count;
  digits.images.resize(static_cast<std::size_t>(count * digit_pixels));
  digits.labels.resize(static_cast<std::size_t>(count));
  for (Index i = 0; i < count; ++i) {
    const auto item = static_cast<std::uint64_t>(i);
    const std::uint8_t label = ten_labels(seed, item / 10)[item % 10];
    CounterRandom random(seed, 1, item);
    draw_digit(label, random, digits.images.data() + i * digit_pixels);
    digits.labels[static_cast<std::size_t>(i)] = label;
  }
  return digits;
}

}  // namespace gpfq::demo
