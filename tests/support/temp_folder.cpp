// SPDX-License-Identifier: Apache-2.0
// Temporary folders by mkdtemp: parallel test programs never meet in one.
#include "support/temp_folder.hpp"

#include <cstdlib>
#include <exception>
#include <set>
#include <system_error>

namespace gpfq::test {
namespace {

std::filesystem::path make_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "gpfq_test_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw_fault("cannot make a temporary folder like {}", name);
  return name;
}

void remove_folder(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

}  // namespace

TempFolder::TempFolder() : path_(make_folder()) {}
TempFolder::~TempFolder() { remove_folder(path_); }

SharedFolder::SharedFolder(const mpi::Communicator& comm) : comm_(comm) {
  std::string name;
  comm_.agree([&] {
    if (comm_.is_root()) name = make_folder().string();
  });
  comm_.broadcast(name);
  path_ = name;
}

SharedFolder::~SharedFolder() {
  if (std::uncaught_exceptions() == 0) MPI_Barrier(comm_.get());
  if (comm_.is_root()) remove_folder(path_);
}

std::string listing(const std::filesystem::path& folder) {
  std::set<std::string> names;
  std::error_code code;
  for (std::filesystem::recursive_directory_iterator entry(folder, code), end; !code && entry != end;
       entry.increment(code))
    names.insert(std::filesystem::relative(entry->path(), folder).string());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

}  // namespace gpfq::test
