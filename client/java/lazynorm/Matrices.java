package lazynorm;

import lazynorm.v1.Matrix;

/** Rows of numbers to messages and back. */
public final class Matrices {
  private Matrices() {}

  /** @throws IllegalArgumentException for rows of different widths */
  public static Matrix of(float[]... rows) {
    int columns = rows.length == 0 ? 0 : rows[0].length;
    Matrix.Builder matrix = Matrix.newBuilder().setRows(rows.length).setColumns(columns);
    for (float[] row : rows) {
      if (row.length != columns) throw new IllegalArgumentException("expected rows of equal width");
      for (float value : row) matrix.addValues(value);
    }
    return matrix.build();
  }

  /** One value a row. */
  public static Matrix column(float... values) {
    Matrix.Builder matrix = Matrix.newBuilder().setRows(values.length).setColumns(1);
    for (float value : values) matrix.addValues(value);
    return matrix.build();
  }

  /** The rows of a message. */
  public static float[][] rows(Matrix matrix) {
    float[][] rows = new float[matrix.getRows()][matrix.getColumns()];
    for (int i = 0; i < matrix.getValuesCount(); i++) {
      rows[i / matrix.getColumns()][i % matrix.getColumns()] = matrix.getValues(i);
    }
    return rows;
  }
}
