// SPDX-License-Identifier: Apache-2.0
// The config as users write it: defaults, overrides and layer rules, and for each mistake one
// message that names the key, what was found and what is expected.
#include "gpfq/job/config.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "job/config_testing.hpp"
#include "support/data_files.hpp"
#include "support/errors.hpp"
#include "support/temp_folder.hpp"

namespace gpfq::job {
namespace {

using Json = nlohmann::json;
using test::input_error;
using test::mentions;

/// The least that a config needs, with `more` merged in (null removes a key).
Json minimal(const Json& more = Json::object()) {
  Json config = {{"model", "net.onnx"}, {"calibration", {{"file", "data.h5"}, {"inputs", "train/images"}}}};
  config.merge_patch(more);
  return config;
}

Config parse_quantization(const Json& quantization) { return parse(minimal({{"quantization", quantization}})); }

std::string quantization_refusal(const Json& quantization) {
  return refusal(minimal({{"quantization", quantization}}));
}

TEST(Config, DefaultsAreThoseOfTheTable) {
  const Config config = parse(minimal());
  EXPECT_EQ(config.model, "/here/net.onnx");
  EXPECT_EQ(config.calibration.file, "/here/data.h5");
  EXPECT_EQ(config.calibration.inputs, "train/images");
  EXPECT_EQ(config.calibration.samples, 0);
  EXPECT_FALSE(config.calibration.shuffle_seed.has_value());
  EXPECT_FALSE(config.evaluation.has_value());
  EXPECT_EQ(config.preprocess.scale, 1);
  EXPECT_EQ(config.preprocess.mean, std::vector<double>{0});
  EXPECT_EQ(config.preprocess.deviation, std::vector<double>{1});
  EXPECT_EQ(config.preprocess.layout, Layout::flat);
  EXPECT_EQ(config.output, "/here/run");
  EXPECT_EQ(config.scratch, "/here/run/scratch");
  EXPECT_EQ(config.memory_per_rank, Index{4} << 30);
  EXPECT_EQ(config.threads, 0);
  EXPECT_EQ(config.stream.ranks_per_node, 0);
  EXPECT_TRUE(config.stream.exchange);
  EXPECT_EQ(config.block, 0);
  const LayerSettings settings = config.settings_for("any");
  EXPECT_FALSE(settings.skip);
  EXPECT_EQ(settings.method, Method::gpfq);
  EXPECT_EQ(settings.levels, 3);
  EXPECT_EQ(settings.radius.kind, RadiusKind::search);
  EXPECT_TRUE(settings.radius.per_neuron);
  EXPECT_EQ(settings.candidates(), 5);
  EXPECT_EQ(settings.sweeps, 4);
  EXPECT_TRUE(settings.corrects_bias);
}

TEST(Config, APresetOrAGivenRadiusIsThePublishedRule) {
  for (const Json& quantization : {Json{{"preset", "paper"}}, Json{{"radius", {{"rule", "median"}}}},
                                   Json{{"radius", {{"scale", 3}}}}}) {
    const LayerSettings settings = parse_quantization(quantization).settings_for("any");
    EXPECT_EQ(settings.radius.kind, RadiusKind::median) << quantization;
    EXPECT_FALSE(settings.radius.per_neuron);
    EXPECT_EQ(settings.scale(), 3);
    EXPECT_EQ(settings.candidates(), 1);
    EXPECT_EQ(settings.sweeps, 0);
    EXPECT_FALSE(settings.corrects_bias);
  }
  const LayerSettings both =
      parse_quantization({{"preset", "paper"}, {"refine", {{"sweeps", 2}}}, {"bias_correction", true}}).settings_for("x");
  EXPECT_EQ(both.sweeps, 2);
  EXPECT_TRUE(both.corrects_bias);
  const LayerSettings rounding = parse_quantization({{"method", "msq"}}).settings_for("x");
  EXPECT_EQ(rounding.radius.kind, RadiusKind::median);
  EXPECT_EQ(rounding.sweeps, 0);
}

TEST(Config, SweepsAreNotAmongTheDefaultsWhereTheyWouldUndoThings) {
  const auto sweeps = [](const Json& quantization) { return parse_quantization(quantization).settings_for("x").sweeps; };
  EXPECT_EQ(sweeps({{"method", "spfq"}}), 0);
  EXPECT_EQ(sweeps({{"method", "spfq"}, {"refine", {{"sweeps", 2}}}}), 2);
  EXPECT_EQ(sweeps({{"threshold", 1}}), 0);
  EXPECT_EQ(sweeps({{"threshold", 0}}), 4);
  EXPECT_EQ(sweeps({{"layers", {{{"match", "x"}, {"threshold", 1}}}}}), 0);
  EXPECT_EQ(sweeps({{"threshold", 1}, {"layers", {{{"match", "x"}, {"threshold", 0}}}}}), 4);
  EXPECT_TRUE(mentions(quantization_refusal({{"threshold", 1}, {"refine", {{"sweeps", 2}}}}), "'quantization.refine.sweeps' is 2"));
  const Config inherited = parse_quantization({{"refine", {{"sweeps", 2}}}, {"layers", {{{"match", "x"}, {"threshold", 1}}}}});
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(inherited.settings_for("x")); }), "refine.sweeps' is 2"));
}

TEST(Config, SparsityIsSoftUnlessHardIsAskedFor) {
  EXPECT_EQ(parse_quantization({{"threshold", 1}}).settings_for("x").sparsity, Sparsity::soft);
  EXPECT_FALSE(parse_quantization({{"threshold", 1}}).settings_for("x").shifts_levels());
  EXPECT_TRUE(parse_quantization({{"threshold", 1}, {"sparsity", "hard"}}).settings_for("x").shifts_levels());
  EXPECT_FALSE(parse_quantization({{"sparsity", "hard"}}).settings_for("x").shifts_levels());
  EXPECT_TRUE(mentions(quantization_refusal({{"sparsity", "firm"}}), "'quantization.sparsity' is \"firm\""));
}

TEST(Config, AThresholdNeedsAZeroAmongTheLevels) {
  const std::string text = quantization_refusal({{"threshold", 1}, {"levels", 4}});
  EXPECT_TRUE(mentions(text, "'quantization.threshold' is 1 with 4 levels"));
  EXPECT_TRUE(mentions(text, "odd number of 'levels'"));
  EXPECT_EQ(parse_quantization({{"threshold", 1}, {"bits", 4}}).settings_for("x").levels, 15);
  const Config rule = parse_quantization({{"threshold", 1}, {"layers", {{{"match", "x"}, {"levels", 16}}}}});
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(rule.settings_for("x")); }), "16 levels"));
}

TEST(Config, AScaleIsOfItsRuleAlone) {
  const auto scale = [](const Json& rule) {
    return parse_quantization({{"radius", {{"rule", "median"}, {"scale", 5}}}, {"layers", {{{"match", "x"}, {"radius", rule}}}}})
        .settings_for("x")
        .scale();
  };
  EXPECT_EQ(scale({{"rule", "search"}}), 1);
  EXPECT_EQ(scale({{"rule", "max"}}), 1);
  EXPECT_EQ(scale({{"rule", "max"}, {"scale", 0.5}}), 0.5);
  EXPECT_EQ(scale({{"rule", "median"}}), 5);
  EXPECT_EQ(scale({{"per", "neuron"}}), 5);
}

TEST(Config, RefusesSettingsWithoutEffect) {
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "msq"}, {"refine", {{"sweeps", 3}}}}), "'quantization.refine.sweeps' is 3"));
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "msq"}, {"order", "activation"}}), "'quantization.order'"));
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "msq"}, {"radius", {{"candidates", 3}}}}), "'quantization.radius.candidates'"));
  for (const char* key : {"candidates", "span"})
    EXPECT_TRUE(mentions(quantization_refusal({{"radius", {{"rule", "median"}, {key, 3}}}}),
                         fmt::format("'quantization.radius.{}' is 3 with a radius rule other than search", key)));
  EXPECT_EQ(parse_quantization({{"radius", {{"candidates", 3}}}}).settings_for("x").candidates(), 3);
  EXPECT_EQ(parse_quantization({{"radius", {{"rule", "search"}, {"candidates", 3}}}, {"layers", {{{"match", "x"}, {"radius", {{"rule", "max"}}}}}}})
                .settings_for("x")
                .candidates(),
            1);
  // What the defaults say of other layers is no mistake of the one that rounds.
  EXPECT_EQ(parse_quantization({{"refine", {{"sweeps", 3}}}, {"order", "activation"}, {"layers", {{{"match", "x"}, {"method", "msq"}}}}})
                .settings_for("x")
                .sweeps,
            0);
  const Json layers = {{"layers", {{{"name", "a"}, {"weight", {{"file", "w.npy"}}}, {"inputs", {{"file", "x.npy"}}}}}},
                       {"quantization", {{"bias_correction", true}}}};
  EXPECT_TRUE(mentions(refusal(layers), "'quantization.bias_correction' is true with layers without a network"));
}

TEST(Config, RefusesWhatMethodsCannotDo) {
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "msq"}, {"radius", {{"rule", "search"}}}}), "radius.rule"));
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "optq"}, {"form", "residual"}}), "quantization.form"));
  EXPECT_TRUE(mentions(quantization_refusal({{"method", "optq"}, {"threshold", 0.5}}), "quantization.threshold"));
  EXPECT_TRUE(mentions(quantization_refusal({{"radius", {{"rule", "search"}, {"candidates", 0}}}}), "radius.candidates"));
  EXPECT_TRUE(mentions(quantization_refusal({{"refine", {{"sweeps", -1}}}}), "refine.sweeps"));
  EXPECT_TRUE(mentions(quantization_refusal({{"preset", "papers"}}), "quantization.preset"));
}

TEST(Config, TakesEveryKey) {
  const Json json = Json::parse(R"({
    "model": "/models/net.h5",
    "calibration": {"file": "../data.h5", "inputs": "x", "samples": 25000, "shuffle_seed": 7},
    "evaluation": {"file": "test.h5", "inputs": "tx", "labels": "ty", "samples": 100},
    "preprocess": {"scale": 0.5, "mean": [1, 2, 3], "std": 4, "layout": "NHWC"},
    "quantization": {"method": "msq", "bits": 4, "radius": {"rule": "max", "scale": 0.9, "per": "neuron"}, "block": 32,
                     "layers": [{"match": "fc.*", "skip": true}]},
    "memory_per_rank": "512MiB", "threads": 3, "output": "out", "scratch": "/fast"})");
  const Config config = parse(json);
  EXPECT_EQ(config.model, "/models/net.h5");
  EXPECT_EQ(config.calibration.file.lexically_normal(), "/data.h5");
  EXPECT_EQ(config.calibration.samples, 25000);
  EXPECT_EQ(config.calibration.shuffle_seed, 7U);
  ASSERT_TRUE(config.evaluation.has_value());
  EXPECT_EQ(config.evaluation->labels, "ty");
  EXPECT_EQ(config.evaluation->samples, 100);
  EXPECT_EQ(config.preprocess.scale, 0.5);
  EXPECT_EQ(config.preprocess.mean, (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(config.preprocess.deviation, std::vector<double>{4});
  EXPECT_EQ(config.preprocess.layout, Layout::nhwc);
  const LayerSettings settings = config.settings_for("conv");
  EXPECT_EQ(settings.method, Method::msq);
  EXPECT_EQ(settings.levels, 15);
  EXPECT_EQ(settings.radius.kind, RadiusKind::max);
  EXPECT_TRUE(settings.radius.per_neuron);
  EXPECT_EQ(settings.scale(), 0.9);
  EXPECT_TRUE(config.settings_for("fc1").skip);
  EXPECT_EQ(config.block, 32);
  EXPECT_EQ(config.memory_per_rank, Index{512} << 20);
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.output, "/here/out");
  EXPECT_EQ(config.scratch, "/fast");
}

TEST(Config, BitsAreSymmetricLevels) {
  for (int bits = 2; bits <= 8; ++bits)
    EXPECT_EQ(parse_quantization({{"bits", bits}}).settings_for("x").levels, (1 << bits) - 1);
  for (const int levels : {2, 3, 16, 256})
    EXPECT_EQ(parse_quantization({{"levels", levels}}).settings_for("x").levels, levels);
}

TEST(Config, DefaultScaleFollowsLevelsAndRule) {
  for (const auto& [levels, scale] :
       std::vector<std::pair<int, double>>{{2, 3}, {4, 3}, {5, 4}, {8, 4}, {9, 5}, {256, 5}})
    EXPECT_EQ(parse_quantization({{"preset", "paper"}, {"levels", levels}}).settings_for("x").scale(), scale) << levels;
  EXPECT_EQ(parse_quantization({{"levels", 16}, {"radius", {{"rule", "max"}}}}).settings_for("x").scale(), 1);
}

TEST(Config, AValueAloneChoosesItsRule) {
  const LayerSettings settings = parse_quantization({{"radius", {{"value", 0.25}}}}).settings_for("x");
  EXPECT_EQ(settings.radius.kind, RadiusKind::value);
  EXPECT_EQ(settings.radius.value, 0.25);
  EXPECT_TRUE(
      mentions(quantization_refusal({{"radius", {{"rule", "value"}}}}), "quantization.radius.value' is missing"));
}

TEST(Config, LastMatchingRuleWinsKeyByKey) {
  const Config config = parse_quantization({{"levels", 4},
                                            {"radius", {{"scale", 2}}},
                                            {"layers",
                                             {{{"match", "fc.*"}, {"levels", 16}, {"radius", {{"per", "neuron"}}}},
                                              {{"match", "fc2"}, {"bits", 2}, {"method", "msq"}},
                                              {{"match", ".*3"}, {"skip", true}},
                                              {{"match", "fc3"}, {"skip", false}}}}});
  const LayerSettings other = config.settings_for("conv1");
  EXPECT_EQ(other.levels, 4);
  EXPECT_FALSE(other.radius.per_neuron);
  const LayerSettings first = config.settings_for("fc1");
  EXPECT_EQ(first.levels, 16);
  EXPECT_TRUE(first.radius.per_neuron);
  EXPECT_EQ(first.scale(), 2);  // not touched by the rule
  EXPECT_EQ(first.method, Method::gpfq);
  const LayerSettings second = config.settings_for("fc2");
  EXPECT_EQ(second.levels, 3);
  EXPECT_TRUE(second.radius.per_neuron);
  EXPECT_EQ(second.method, Method::msq);
  EXPECT_FALSE(config.settings_for("fc3").skip);
  EXPECT_TRUE(config.settings_for("conv3").skip);
  // A match is for the whole name.
  EXPECT_EQ(config.settings_for("my_fc1").levels, 4);
}

TEST(Config, PatternsThatTryAllWaysEnd) {
  // As many ways as there are partitions of 1000 letters.
  const Config config = parse_quantization({{"layers", {{{"match", "(a*)*b"}, {"levels", 16}}, {{"match", "(a|aa)*"}, {"levels", 8}}}}});
  EXPECT_EQ(config.settings_for(std::string(1000, 'a')).levels, 8);
  EXPECT_EQ(config.settings_for(std::string(1000, 'a') + "b").levels, 16);
  EXPECT_TRUE(mentions(quantization_refusal({{"layers", {{{"match", "(a)\\1"}, {"levels", 16}}}}}), "back-reference"));
}

TEST(ConfigErrors, UnknownKeysNameTheNearest) {
  EXPECT_TRUE(mentions(refusal(minimal({{"modle", "x"}})), "unknown key 'modle'; did you mean 'model'?"));
  EXPECT_TRUE(mentions(refusal(minimal({{"calibration", {{"sampels", 3}}}})),
                       "unknown key 'calibration.sampels'; did you mean 'calibration.samples'?"));
  EXPECT_TRUE(mentions(refusal(minimal({{"samples", 3}})), "unknown key 'samples'; did you mean"));
  EXPECT_TRUE(
      mentions(quantization_refusal({{"radius", {{"scael", 3}}}}), "did you mean 'quantization.radius.scale'?"));
  EXPECT_TRUE(mentions(refusal(minimal({{"zzzzzzzzzzzzzzzzzzzzzz", 3}})), "--help lists them"));
}

TEST(ConfigErrors, MissingKeys) {
  EXPECT_TRUE(mentions(refusal(minimal({{"model", nullptr}})), "'model' is missing"));
  EXPECT_TRUE(mentions(refusal(minimal({{"calibration", nullptr}})), "'calibration.file' is missing"));
  EXPECT_TRUE(mentions(refusal(minimal({{"calibration", {{"inputs", nullptr}}}})), "'calibration.inputs' is missing"));
  EXPECT_TRUE(mentions(refusal(minimal({{"model", ""}})), "'model' is empty"));
  EXPECT_TRUE(
      mentions(refusal(minimal({{"evaluation", {{"file", "f"}, {"inputs", "x"}}}})), "'evaluation.labels' is missing"));
}

TEST(ConfigErrors, WrongTypesAndRanges) {
  const auto expect = [](const Json& more, const std::string& key, const std::string& found) {
    const std::string text = refusal(minimal(more));
    EXPECT_TRUE(mentions(text, "'" + key + "' is " + found + ", expected ")) << more.dump();
  };
  expect({{"model", 3}}, "model", "3");
  expect({{"calibration", {{"samples", "many"}}}}, "calibration.samples", "\"many\"");
  expect({{"calibration", {{"samples", 1.5}}}}, "calibration.samples", "1.5");
  expect({{"calibration", {{"samples", -1}}}}, "calibration.samples", "-1");
  expect({{"calibration", {{"samples", 18446744073709551615ULL}}}}, "calibration.samples", "18446744073709551615");
  expect({{"calibration", "data.h5"}}, "calibration", "\"data.h5\"");
  expect({{"calibration", {{"shuffle_seed", -4}}}}, "calibration.shuffle_seed", "-4");
  expect({{"preprocess", {{"scale", 0}}}}, "preprocess.scale", "0");
  expect({{"preprocess", {{"mean", Json::array()}}}}, "preprocess.mean", "[]");
  expect({{"preprocess", {{"std", {1, 0}}}}}, "preprocess.std", "[1,0]");
  expect({{"preprocess", {{"std", {1, "x"}}}}}, "preprocess.std", "[1,\"x\"]");
  expect({{"preprocess", {{"layout", "CHW"}}}}, "preprocess.layout", "\"CHW\"");
  expect({{"quantization", {{"method", "gptq"}}}}, "quantization.method", "\"gptq\"");
  expect({{"quantization", {{"levels", 1}}}}, "quantization.levels", "1");
  expect({{"quantization", {{"levels", 257}}}}, "quantization.levels", "257");
  expect({{"quantization", {{"bits", 1}}}}, "quantization.bits", "1");
  expect({{"quantization", {{"bits", 9}}}}, "quantization.bits", "9");
  expect({{"quantization", {{"radius", {{"rule", "mean"}}}}}}, "quantization.radius.rule", "\"mean\"");
  expect({{"quantization", {{"radius", {{"scale", 0}}}}}}, "quantization.radius.scale", "0");
  expect({{"quantization", {{"radius", {{"value", -1}}}}}}, "quantization.radius.value", "-1");
  expect({{"quantization", {{"radius", {{"per", "tensor"}}}}}}, "quantization.radius.per", "\"tensor\"");
  expect({{"quantization", {{"block", -1}}}}, "quantization.block", "-1");
  expect({{"quantization", {{"layers", {{"match", "x"}}}}}}, "quantization.layers", "{\"match\":\"x\"}");
  expect({{"threads", -1}}, "threads", "-1");
  expect({{"stream", {{"ranks_per_node", -1}}}}, "stream.ranks_per_node", "-1");
  expect({{"threads", "two"}}, "threads", "\"two\"");
  expect({{"memory_per_rank", true}}, "memory_per_rank", "true");
  expect({{"output", 7}}, "output", "7");
  EXPECT_TRUE(mentions(refusal(minimal({{"memory_per_rank", "much"}})), "'memory_per_rank': 'much' is not a size"));
  expect({{"quantization", {{"form", "foo"}}}}, "quantization.form", "\"foo\"");
  EXPECT_TRUE(mentions(refusal(minimal({{"memory_per_rank", "-1GiB"}})), "-1GiB"));
}

TEST(ConfigErrors, ReversedChannelsNeedALayoutWithChannels) {
  for (const char* layout : {"flat", "NHW"})
    EXPECT_TRUE(mentions(refusal(minimal({{"preprocess", {{"channel_order", "reverse"}, {"layout", layout}}}})),
                         "'preprocess.channel_order' is \"reverse\""));
  EXPECT_TRUE(mentions(refusal(minimal({{"preprocess", {{"channel_order", "reverse"}}}})), "NCHW or NHWC"));
  EXPECT_TRUE(
      parse(minimal({{"preprocess", {{"channel_order", "reverse"}, {"layout", "NHWC"}}}})).preprocess.reverse_channels);
}

TEST(ConfigErrors, BothBitsAndLevels) {
  EXPECT_TRUE(mentions(quantization_refusal({{"levels", 3}, {"bits", 2}}), "both given"));
  EXPECT_TRUE(
      mentions(quantization_refusal({{"layers", {{{"match", "x"}, {"levels", 3}, {"bits", 2}}}}}), "both given"));
}

TEST(ConfigErrors, RulesAreCheckedWithTheirPlace) {
  const auto rule_refusal = [](const Json& rule) {
    return quantization_refusal({{"layers", {{{"match", "ok"}}, rule}}});
  };
  EXPECT_TRUE(mentions(rule_refusal({{"match", "fc("}}), "'quantization.layers[1].match' is \"fc(\""));
  EXPECT_TRUE(mentions(rule_refusal({{"levels", 3}}), "quantization.layers[1].match"));
  EXPECT_TRUE(mentions(rule_refusal({{"match", 3}}), "quantization.layers[1].match"));
  EXPECT_TRUE(mentions(rule_refusal({{"match", "x"}, {"skip", "yes"}}), "quantization.layers[1].skip"));
  EXPECT_TRUE(mentions(rule_refusal({{"match", "x"}, {"block", 3}}), "not a key of a layer rule"));
  EXPECT_TRUE(mentions(rule_refusal({{"match", "x"}, {"levle", 3}}), "in quantization.layers[1]"));
  EXPECT_TRUE(mentions(rule_refusal({{"match", "x"}, {"levels", 500}}), "quantization.layers[1]"));
  EXPECT_TRUE(mentions(rule_refusal("fc"), "quantization.layers[1]"));
}

/// load_config_text of a file with `text`.
std::string load(const std::string& text, const std::vector<std::string>& overrides) {
  const test::TempFolder folder;
  test::write_text(folder / "job.json", text);
  return load_config_text(folder / "job.json", overrides);
}
Json load_json(const std::vector<std::string>& overrides) { return Json::parse(load(minimal().dump(), overrides)); }

TEST(Overrides, SetDottedKeys) {
  const Json json = load_json({"quantization.levels=16", "quantization.radius.scale=2.5", "threads=2",
                               "output=elsewhere", "calibration.shuffle_seed=null", "preprocess.mean=[1,2]",
                               "memory_per_rank=1048576", "scratch=/fast=disk"});
  EXPECT_EQ(json["quantization"]["levels"], 16);
  EXPECT_EQ(json["quantization"]["radius"]["scale"], 2.5);
  EXPECT_EQ(json["threads"], 2);
  EXPECT_EQ(json["output"], "elsewhere");
  EXPECT_TRUE(json["calibration"]["shuffle_seed"].is_null());
  EXPECT_EQ(json["preprocess"]["mean"], (Json{1, 2}));
  EXPECT_EQ(json["memory_per_rank"], "1048576");
  EXPECT_EQ(json["scratch"], "/fast=disk");
  EXPECT_EQ(json["calibration"]["file"], "data.h5");  // what was there stays
  EXPECT_EQ(parse(json).memory_per_rank, 1048576);
}

TEST(Overrides, LaterOnesWinAndBitsReplaceLevels) {
  EXPECT_EQ(load_json({"threads=2", "threads=3"})["threads"], 3);
  const Json bits = load_json({"quantization.levels=16", "quantization.bits=2"});
  EXPECT_FALSE(bits["quantization"].contains("levels"));
  EXPECT_EQ(parse(bits).settings_for("x").levels, 3);
  const Json levels = load_json({"quantization.bits=2", "quantization.levels=16"});
  EXPECT_EQ(parse(levels).settings_for("x").levels, 16);
}

TEST(Overrides, MistakesAreNamed) {
  const auto refused = [](const std::string& assignment) {
    return input_error([&] { static_cast<void>(load_json({assignment})); });
  };
  EXPECT_TRUE(mentions(refused("threads"), "--set 'threads': expected key=value"));
  EXPECT_TRUE(mentions(refused("=3"), "--set '=3'"));
  EXPECT_TRUE(mentions(refused("thread=3"), "unknown key 'thread'; did you mean 'threads'?"));
  EXPECT_TRUE(mentions(refused("quantization=3"), "'quantization' is a section"));
  EXPECT_TRUE(mentions(refused("quantization.radius={}"), "'quantization.radius' is a section"));
  const std::string not_object =
      input_error([&] { static_cast<void>(load(R"({"quantization": 3})", {"quantization.levels=3"})); });
  EXPECT_TRUE(mentions(not_object, "'quantization' is not an object"));
  EXPECT_TRUE(mentions(refusal(load_json({"threads=many"})), "'threads' is \"many\", expected an integer"));
}

TEST(ConfigFile, MustBeReadableJson) {
  const test::TempFolder folder;
  const auto refused = [&](const std::string& name) {
    const std::string text = input_error([&] { static_cast<void>(load_config_text(folder / name, {})); });
    EXPECT_TRUE(mentions(text, name));
    return text;
  };
  static_cast<void>(refused("none.json"));
  std::filesystem::create_directory(folder / "folder.json");
  static_cast<void>(refused("folder.json"));
  test::write_text(folder / "empty.json", "");
  EXPECT_TRUE(mentions(refused("empty.json"), "is not JSON"));
  test::write_text(folder / "cut.json", minimal().dump().substr(0, 30));
  EXPECT_TRUE(mentions(refused("cut.json"), "is not JSON"));
  test::write_text(folder / "list.json", "[1, 2]");
  EXPECT_TRUE(mentions(refused("list.json"), "expected an object"));
  test::write_text(folder / "bytes.json", "{\"model\": \"\xff\xfe\"}");
  EXPECT_TRUE(mentions(refused("bytes.json"), "is not JSON"));
  test::write_text(folder / "commented.json", "// why\n" + minimal().dump());
  EXPECT_NO_THROW(static_cast<void>(load_config_text(folder / "commented.json", {})));
}

TEST(ConfigFile, AKeyIsGivenOnce) {
  const auto refused = [](const std::string& text) {
    return input_error([&] { static_cast<void>(parse_config(text, "/here", "job.json")); });
  };
  EXPECT_TRUE(mentions(refused(R"({"threads": 1, "output": "run", "threads": 2})"), "job.json gives the key 'threads' twice"));
  EXPECT_TRUE(mentions(refused(R"({"quantization": {"layers": [{"match": "a", "skip": true, "match": "b"}]}})"), "'match' twice"));
  Json config = minimal();  // in objects side by side, and in one around
  config["quantization"]["layers"] = {{{"match", "a"}, {"levels", 3}}, {{"match", "b"}, {"levels", 4}}};
  config["quantization"]["levels"] = 5;
  EXPECT_NO_THROW(static_cast<void>(parse_config(config.dump(), "/here", "job.json")));
}

TEST(ConfigFile, DeepNestingIsRefused) {
  const std::string deep = "{\"model\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_TRUE(mentions(input_error([&] { static_cast<void>(load(deep, {})); }), "nested deeper"));
  EXPECT_TRUE(
      mentions(input_error([&] { static_cast<void>(parse_config(deep, "/here", "job.json")); }), "nested deeper"));
}

TEST(ConfigFile, PatternsAndMessagesStayShort) {
  Json config = minimal();
  config["quantization"]["layers"] = Json::array({{{"match", std::string(100000, '(')}}});
  const std::string text = input_error([&] { static_cast<void>(parse_config(config.dump(), "/here", "job.json")); });
  EXPECT_TRUE(mentions(text, "'quantization.layers[0].match' is \"((("));
  EXPECT_TRUE(mentions(text, "expected at most 1000 bytes"));
  EXPECT_LT(text.size(), 300U);
  config = minimal();
  config["memory_per_rank"] = std::string(100000, 'G');
  EXPECT_LT(input_error([&] { static_cast<void>(parse_config(config.dump(), "/here", "job.json")); }).size(), 400U);
}

TEST(ConfigHelp, ListsEveryKey) {
  for (const ConfigKey& key : config_keys()) {
    EXPECT_TRUE(mentions(config_help(), key.name));
    EXPECT_FALSE(key.help.empty()) << key.name;
  }
}

}  // namespace
}  // namespace gpfq::job
